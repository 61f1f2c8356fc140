"""Judging a candidate: what it is compared with, what it must hold, and why. No person and no alias is involved here."""
