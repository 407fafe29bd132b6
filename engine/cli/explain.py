"""`tidegate explain`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..plan import Plan, make_plan
from ..validation import validate
from .load import load_topology
from .options import ConfigFile, Json, Parallelism, Profile, Settings, Target, new_app, settings_from
from .output import UsageError, print_json

app = new_app()


@app.command()
def explain(
    target: Target,
    *,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="As a Mermaid diagram.")] = False,
    code: Annotated[bool, typer.Option("--code", help="With the generated inner loops.")] = False,
    json: Json = False,
    config: ConfigFile = None,
    profile: Profile = None,
    settings: Settings = None,
    parallelism: Parallelism = None,
) -> None:
    """Show the plan of a topology: chains, subtasks, channels, states and guarantees. Nothing is started."""
    from ..explain import explain as explain_plan
    from ..explain import mermaid as draw

    if mermaid + code + json > 1:
        raise UsageError("--mermaid, --code and --json exclude each other")
    topology = load_topology(target)
    chosen = settings_from(config, profile, settings, {"parallelism": parallelism})
    validate(topology)
    plan = make_plan(topology, chosen.parallelism, chosen.max_parallelism)
    if json:
        print_json(plan_facts(plan))
    else:
        print(draw(plan) if mermaid else explain_plan(plan, code=code))


def plan_facts(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values."""
    topology = plan.topology
    return {
        "topology": topology.name,
        "version": topology.version,
        "fingerprint": topology.fingerprint,
        "max_parallelism": plan.max_parallelism,
        "chains": [
            {
                "name": chain.head.name,
                "parallelism": chain.parallelism,
                "operators": [
                    {
                        "operator_id": node.name,
                        "kind": node.word,
                        "states": [] if node.operator is None else [s.name for s in node.operator.states()],
                        "upstream": [edge.upstream.name for edge in node.inputs],
                    }
                    for node in chain.nodes
                ],
                "inputs": [
                    {
                        "from": edge.upstream.name,
                        "side_output": edge.tag,
                        "partitioner": edge.partitioner,
                        "channels": edge.channels,
                    }
                    for edge in chain.inputs
                ],
            }
            for chain in plan.chains
        ],
    }
