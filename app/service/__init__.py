"""The HTTP service: findings, answers, reports and jobs for programs (`python -m app.serve`)."""
