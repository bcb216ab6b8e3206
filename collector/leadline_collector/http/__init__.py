"""What every HTTP route needs: roles, sessions, problems, limits, metrics."""
