"""The layers of the recorder, each for one kind of thing that the hooks tell."""
