"""Tests that drive Chromium. A package, so that its browser and its hub end with its last test."""
