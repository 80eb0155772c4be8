"""Both papers, claim by claim: stated there, predicted by theory, measured here, verdict."""
