"""Bring bars of anybody's files into the store: found, understood, read in pieces, written as history."""
