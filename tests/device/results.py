"""results.json: written anew after every stage, whole or not at all."""

import json
import os
import sys

SCHEMA = 1
STATUSES = ("passed", "failed", "not possible here", "no time left", "left out")
TOP = {
    "schema": int,
    "began": str,
    "seconds": (int, float),
    "complete": bool,
    "emulated": bool,
    "commit": str,
    "sources": str,
    "machine": dict,
    "stages": list,
    "goals": list,
}
STAGE = {
    "name": str,
    "title": str,
    "status": str,
    "says": str,
    "seconds": (int, float),
    "limit": (int, float),
    "data": dict,
}
GOAL = {"name": str, "wanted": str, "seen": str, "reached": (bool, type(None)), "why": str}


def write_whole(path, text):
    partial = path.with_name("." + path.name + ".partial")
    with open(partial, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    os.replace(partial, path)


def write(path, results):
    write_whole(path, json.dumps(results, indent=1, allow_nan=False) + "\n")


def faults_of(what, row, fields):
    faults = ["%s: no %s" % (what, name) for name in fields if name not in row]
    faults += ["%s: %s is unknown" % (what, name) for name in row if name not in fields]
    for name, kind in fields.items():
        if name in row and not isinstance(row[name], kind):
            faults.append("%s: %s is %s" % (what, name, type(row[name]).__name__))
    return faults


def faults(results):
    """Why this is not a results.json of this schema; empty when it is."""
    found = faults_of("results", results, TOP)
    if found:
        return found
    if results["schema"] != SCHEMA:
        found.append("schema %d, not %d" % (results["schema"], SCHEMA))
    for stage in results["stages"]:
        found += faults_of("stage %s" % stage.get("name"), stage, STAGE)
        if stage.get("status") not in STATUSES:
            found.append("stage %s: status '%s'" % (stage.get("name"), stage.get("status")))
    for goal in results["goals"]:
        found += faults_of("goal %s" % goal.get("name"), goal, GOAL)
    return found


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        wrong = faults(json.load(file))
    print("\n".join(wrong) or "%s: of schema %d" % (sys.argv[1], SCHEMA))
    sys.exit(1 if wrong else 0)
