"""What the venue says: types, symbols, the wire, bars and sessions."""
