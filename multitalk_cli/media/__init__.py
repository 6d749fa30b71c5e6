"""Pictures, faces and voices: reading, checking and preparing what the user gives."""
