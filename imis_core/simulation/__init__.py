"""What a proposed package would cost: past claims and premiums under other terms. It writes nothing."""
