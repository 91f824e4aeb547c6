"""The competitors of track 0: what each makes of the same text in the same time, by the rules of docs/track.md."""
