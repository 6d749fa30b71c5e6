"""A local Modal control plane: the real client and the real container runtime talk to it.

    client process ── gate ──► servicer ──► services_* ──► state
    (modal, unmodified)   HTTP ► blobs                       │
    container process ◄── its own socket ── worker ◄─────────┘
    (python -m modal._container_entrypoint, in a mount namespace)

state        what is remembered: apps, functions, calls, inputs, containers, named objects
servicer     one endpoint per way in; routes a procedure to the service with a method of its name
services_*   account, apps, files (and images), definitions, calls, storage, volumes
worker       queues to containers; timeouts, losses, retries; decides each input's outcome
namespaces   a container's private file system, as root or as an ordinary user
volumes      each container's view of a volume, published by commit()
rpcs         the log of calls, and rules for coming ones
faults       switches, and the gate that cuts clients off
cloud        `Cloud`: all of it in a thread, with what tests ask and break
fixtures     fixtures: cloud, rpcs, client_env, client_home, sample_*

Images are not built: a container runs the Python that runs the tests, with the image's variables,
the uploaded files and the volumes; this machine's copies of our packages are hidden from it. What
the real service decides and does not publish (statuses, retries of lost containers) is said where
it is decided.
"""
