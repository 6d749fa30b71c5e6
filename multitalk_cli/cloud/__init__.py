"""All calls to Modal: login, deploy, secrets, jobs, containers and weights."""
