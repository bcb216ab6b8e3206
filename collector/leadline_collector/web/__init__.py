"""The pages: what a person sees of what the API answers. No judgement is made here."""
