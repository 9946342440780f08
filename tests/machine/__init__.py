"""A state machine over the commands of all rooms, judged by the auditor after each step."""
