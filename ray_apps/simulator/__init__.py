"""Speak the vendor's REST and WebSocket protocol on loopback: a market to develop and test against."""
