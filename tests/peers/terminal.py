"""Runs a program at a terminal of its own. Usage: terminal.py ANSWER... -- PROGRAM ARGUMENT...

At each prompt (what ends in ": ") the next answer is typed. Prints what the terminal showed; ends as the program does.
"""

import os
import pty
import signal
import sys

signal.alarm(30)
split = sys.argv.index("--")
answers, command = sys.argv[1:split], sys.argv[split + 1:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(command[0], command)
shown = b""
while True:
    try:
        part = os.read(terminal, 1024)
    except OSError:
        break
    if not part:
        break
    shown += part
    if part.endswith(b": ") and answers:
        os.write(terminal, answers.pop(0).encode())
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
