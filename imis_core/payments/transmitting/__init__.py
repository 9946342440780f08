"""Orders on their way to payment providers that have a service: sent, asked about, reported back, each exactly once."""
