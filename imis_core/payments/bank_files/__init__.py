"""Bank files: orders to a bank as ISO 20022 credit transfers, and the bank's reports about them."""
