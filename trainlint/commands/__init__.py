"""One file for each group of commands; what a command needs of torch it imports when it runs."""
