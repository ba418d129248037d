"""First draft of a specification, from what a network shows when it is tried, and the check of a written one."""
