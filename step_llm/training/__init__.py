"""Loss, schedule, one update, the loop over epochs, checkpoints and run folders."""
