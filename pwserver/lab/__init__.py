"""The practice lab: a simulated Windows network that speaks the real protocols. Always called a simulation."""
