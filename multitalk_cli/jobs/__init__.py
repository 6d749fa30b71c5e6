"""Jobs in the cloud: ledger, calls, following, fetching, cancelling."""
