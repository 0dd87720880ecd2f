"""Remote calls between services: contracts, envelope, client, server. ZeroMQ carries, Cap'n Proto describes."""
