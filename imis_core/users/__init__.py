"""The room of users: their administration by commands. Login and permissions are the business of `security`."""
