"""Webhooks: the hub tells programs elsewhere what happens here, in the words that the stock client's server parses.

An event leaves its room as a signal, `listeners` queues it by name, `watchers` finds who hears of it, `payloads` says
what just this person may be told at this moment, `deliveries` sends it and tries again, `posting` and `addresses` see to
it that nothing inside the hub's own network is ever reached."""
