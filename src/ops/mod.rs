//! What the operating system and the operator see: logs, systemd, the control socket.
