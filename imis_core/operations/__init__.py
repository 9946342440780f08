"""What an operator does with a whole deployment: look after it, back it up, restore it, bring it to a new server."""
