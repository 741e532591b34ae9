"""Drives Segment's own Python client, unmodified but for the host. Usage: HOST WRITE_KEY PREFIX COUNT WHEN"""
import sys
from datetime import datetime

import segment.analytics as analytics

host, key, prefix, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
analytics.host = host
analytics.write_key = key
analytics.gzip = True
analytics.max_retries = 2
faults = []
when = datetime.fromisoformat(sys.argv[5])
analytics.on_error = lambda error, items: faults.append(f"{error} for {len(items)} items")
analytics.identify(f"{prefix}-user", {"first_name": "Anne", "plan": "vip"}, message_id=f"{prefix}-identify", timestamp=when)
analytics.page(f"{prefix}-user", "docs", "Home", {"url": "https://shop.example/"}, message_id=f"{prefix}-page", timestamp=when)
analytics.screen(f"{prefix}-user", "app", "Main", {}, message_id=f"{prefix}-screen", timestamp=when)
analytics.group(f"{prefix}-user", f"{prefix}-company", {"name": "Acme"}, message_id=f"{prefix}-group", timestamp=when)
for n in range(count):
    analytics.track(f"{prefix}-user", "Thing Done", {"n": n}, message_id=f"{prefix}-track-{n}", timestamp=when)
analytics.flush()
analytics.shutdown()
print("faults:", faults)
sys.exit(1 if faults else 0)
