"""Opening the Blackbox: neural differential equations regularised by their own solver."""
