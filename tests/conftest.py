"""What every room's tests may use."""
