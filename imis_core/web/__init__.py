"""The REST door: the commands and queries of an application over HTTP. Holds no rule of its own."""
