"""From a start to an end: attempts at steps, what of them is kept, and where to stop.

The loop, compiled, makes attempts at steps in chunks; between chunks the host saves,
tells of progress, looks at events of gates, and asks whether a state of rest is one.
"""
