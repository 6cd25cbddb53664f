"""What a device needs to recognise and look up: no torch, no server, no network."""
