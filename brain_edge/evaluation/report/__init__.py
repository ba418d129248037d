"""The accuracy report of one quantisation: its data, its page, its scatter plot."""
