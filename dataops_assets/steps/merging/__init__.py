"""How a change is merged into a hub: which keys it touches, their timelines, and what differs."""
