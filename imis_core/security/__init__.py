"""Who may do what: users, roles, permissions, scope, passwords and tokens."""
