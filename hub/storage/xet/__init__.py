"""The Xet formats: hashes, xorbs and shards. Specification: https://huggingface.co/docs/xet"""
