"""Verifies every DKIM-Signature of a message with dkimpy. Usage: MESSAGE_FILE RECORDS_JSON (name -> TXT value).

Prints one line per signature, `ALGORITHM ok` or `ALGORITHM bad`, and exits with 0 only when there is one and all are ok."""
import json
import re
import sys

import dkim

message = open(sys.argv[1], "rb").read()
records = {name.encode() + b".": value.encode() for name, value in json.load(open(sys.argv[2])).items()}
lookup = lambda name, timeout=5: records.get(name if isinstance(name, bytes) else name.encode())
verifier = dkim.DKIM(message)
count = len(re.findall(rb"(?im)^dkim-signature:", message.split(b"\r\n\r\n", 1)[0]))
good = True
for index in range(count):
    try:
        ok = verifier.verify(idx=index, dnsfunc=lookup)
    except dkim.DKIMException as fault:
        print(fault)
        ok = False
    algorithm = verifier.signature_fields.get(b"a", b"?").decode()
    print(algorithm, "ok" if ok else "bad")
    good = good and ok
sys.exit(0 if good and count else 1)
