"""Other places: their URLs, who to say one is there, and receiving from them without trust."""
