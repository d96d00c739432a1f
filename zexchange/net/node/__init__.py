"""What programs see of the network half: `federate` and `Node`."""
