"""Objectives with published constants."""
