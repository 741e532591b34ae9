"""Checks of the Helm chart, with Helm itself as a library and Kubernetes' own schemas.

    check.py NAME CHART      answers {"checked": number, "faults": [sentence, ...]}

NAME is one of the checks below; sets of values are in `sets`, renderings in `golden`, which
`golden` writes anew when PARCOURS_BLESS is set.
"""

import json
import sys

import network
import objects
import values
from render import Chart

CHECKS = [
    objects.golden,
    objects.lint,
    objects.kubernetes,
    objects.restricted,
    objects.secrets,
    objects.fitting,
    objects.monitored,
    values.effects,
    values.schema,
    values.guards,
    network.network,
]

if __name__ == "__main__":
    wanted, path = sys.argv[1:3]
    check = next(check for check in CHECKS if check.__name__ == wanted)
    checked, faults = check(Chart(path))
    print(json.dumps({"checked": checked, "faults": faults}))
