"""How nodes find each other, and the control messages between them."""
