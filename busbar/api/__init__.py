"""The market over HTTP: reads from the index, payloads to sign, signed transactions in. No key ever comes here."""
