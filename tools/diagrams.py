"""Draw the lessons' diagrams: ``python tools/diagrams.py``, with Graphviz installed.

Each diagram is written below in Graphviz's own language and goes to ``notebooks/images/`` as an SVG
whose text stays text. The colours are those of the figures; boxes with a double line are Prefect's.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[1] / "notebooks" / "images"
STYLE = """
bgcolor=white; rankdir=LR; nodesep=0.3; ranksep=0.45; pad=0.15
fontname="Helvetica"; fontsize=12
node [shape=box style="rounded,filled" fillcolor="#eaf2fb" color="#0173b2" fontname="Helvetica"
      fontsize=12 margin="0.14,0.08" height=0.4]
edge [color="#555555" fontname="Helvetica" fontsize=11 fontcolor="#333333" arrowsize=0.7]
"""
GOOD, BAD, WAITS, PLAIN = "#d9f2e6", "#fbe0d6", "#fdf3d0", "#f2f2f2"
DIAGRAMS = {
    "05_flow_task_try": f"""
        flow [label="flow\\nfetch" peripheries=2]
        subgraph cluster_task {{
            label="task run: fetch_cat_fact"; color="#999999"; style=rounded
            one [label="try 1\\nHTTP 503" fillcolor="{BAD}"]
            two [label="try 2\\nHTTP 503" fillcolor="{BAD}"]
            three [label="try 3\\na fact" fillcolor="{GOOD}"]
            one -> two [label="waits"]
            two -> three [label="waits"]
        }}
        end [label="state\\nCompleted" fillcolor="{GOOD}"]
        flow -> one [label="calls"]
        three -> end
    """,
    "06_notebook_to_flow": f"""
        subgraph cluster_plain {{
            label="lesson 3: functions"; color="#999999"; style=rounded; rank=same
            main [label="main()" fillcolor="{PLAIN}"]
            train [label="train_best_model()" fillcolor="{PLAIN}"]
            add [label="add_features()" fillcolor="{PLAIN}"]
            read [label="read_data()" fillcolor="{PLAIN}"]
            main -> {{train add read}}
        }}
        subgraph cluster_flow {{
            label="lesson 6: the same functions"; color="#999999"; style=rounded
            flow [label="@flow\\nmain()" peripheries=2]
            ttrain [label="@task\\ntrain_best_model()" peripheries=2]
            tadd [label="@task\\nadd_features()" peripheries=2]
            tread [label="@task\\nread_data()" peripheries=2]
            flow -> {{ttrain tadd tread}}
        }}
        add -> flow [ltail=cluster_plain lhead=cluster_flow style=bold label="four decorators"]
    """,
    "07_states": f"""
        pending [label="Pending"]; running [label="Running\\nor Retrying"]
        done [label="Completed" fillcolor="{GOOD}"]
        retry [label="AwaitingRetry" fillcolor="{WAITS}"]
        failed [label="Failed" fillcolor="{BAD}"]
        late [label="TimedOut\\n(a Failed)" fillcolor="{BAD}"]
        behind [label="NotReady" fillcolor="{PLAIN}"]
        pending -> behind [label="an input has failed"]
        pending -> running [label="begins"]
        running -> done [label="returns"]
        running -> retry [label="fails, retries left"]
        retry -> running [label="after its delay"]
        running -> failed [label="exception, no retry left"]
        running -> late [label="timeout, no retry left"]
    """,
    "08_cache_key": f"""
        inputs [label="arguments\\nINPUTS" fillcolor="{PLAIN}"]
        source [label="source code\\nTASK_SOURCE" fillcolor="{PLAIN}"]
        run_id [label="id of the flow run\\nRUN_ID" fillcolor="{PLAIN}"]
        own [label="your function\\nfrom_cache_key_fn" fillcolor="{PLAIN}"]
        key [label="cache key"]
        known [label="a result under\\nthis key?" shape=diamond style=filled margin="0.02,0.02"]
        kept [label="Cached\\nthe kept result" fillcolor="{GOOD}"]
        run [label="the task runs,\\nits result is kept" fillcolor="{WAITS}"]
        {{inputs source run_id own}} -> key -> known
        known -> kept [label="yes"]
        known -> run [label="no, or expired"]
    """,
    "09_server_pool_worker": f"""
        you [label="you\\ndeploy, ask\\nfor a run" fillcolor="{PLAIN}"]
        subgraph cluster_server {{
            label="Prefect's server"; color="#999999"; style=rounded
            deployment [label="deployment\\nwhich flow, where its\\ncode is, parameters"]
            pool [label="work pool\\nhow a run\\nis started"]
            deployment -> pool [label="its runs\\nwait in"]
        }}
        worker [label="worker" peripheries=2]
        process [label="process\\ngets the code,\\nruns the flow" fillcolor="{GOOD}"]
        you -> deployment
        pool -> worker [dir=back label="asks for\\nwork"]
        worker -> process [label="starts"]
    """,
    "10_names": f"""
        flow [label="flow run\\nits parameters\\nare names" fillcolor="{PLAIN}"]
        subgraph cluster_server {{
            label="Prefect's server"; color="#999999"; style=rounded
            bucket [label="block S3Bucket\\ns3-bucket-block"]
            creds [label="block AwsCredentials\\nmy-aws-creds"]
            limit [label="variable\\nrmse_limit"]
            secret [label="block Secret\\nteam-board"]
            bucket -> creds [label="points at"]
        }}
        months [label="bucket\\ntaxi-months" fillcolor="{GOOD}"]
        board [label="message\\nboard" fillcolor="{GOOD}"]
        flow -> bucket
        flow -> limit
        flow -> secret
        creds -> months [label="opens"]
        secret -> board [label="address of"]
        {{rank=same; months board}}
    """,
    "11_scheduled_time": f"""
        schedule [label="schedule\\n0 9 3 * *"]
        run [label="flow run of 3 May\\nscheduled_start_time" peripheries=2]
        months [label="train on January,\\nvalidate on February" fillcolor="{GOOD}"]
        late [label="started hours late,\\nor years later by a backfill" fillcolor="{WAITS}"]
        clock [label="the clock\\ndatetime.now()" fillcolor="{BAD}"]
        schedule -> run -> months [label="decides"]
        late -> run [label="changes nothing" style=dashed]
        clock -> months [label="would be wrong" style=dashed color="#c44e00"]
    """,
    "12_hook_and_automation": f"""
        subgraph cluster_process {{
            label="the run's own process"; color="#999999"; style=rounded
            flow [label="flow run\\nfails"]
            hook [label="on_failure hook\\nyour function" fillcolor="{WAITS}"]
            flow -> hook [label="calls"]
        }}
        subgraph cluster_server {{
            label="Prefect's server"; color="#999999"; style=rounded
            events [label="events"]
            automation [label="automation\\ntrigger, then action" peripheries=2]
            events -> automation
        }}
        letter [label="message,\\nor another run" fillcolor="{GOOD}"]
        killed [label="process killed:\\nno hook is called" fillcolor="{BAD}"]
        flow -> events [label="state"]
        killed -> automation [label="no event comes" style=dashed]
        {{hook automation}} -> letter
    """,
    "13_notebook_as_step": f"""
        task [label="task of a flow\\nparameters,\\nretries, cache key" peripheries=2]
        subgraph cluster_process {{
            label="a process: python -m papermill"; color="#999999"; style=rounded
            step [label="02_train.ipynb" fillcolor="{PLAIN}"]
            kernel [label="kernel\\nruns each cell"]
            step -> kernel [label="with\\nparameters"]
        }}
        copy [label="executed copy\\nwith outputs" fillcolor="{GOOD}"]
        check [label="exit status 0?\\nevery cell begun?\\nno error?" fillcolor="{WAITS}"]
        task -> step
        kernel -> copy -> check
    """,
    "14_pipeline": f"""
        asked [label="request:\\nnotebooks\\nand values" fillcolor="{PLAIN}"]
        contracts [label="contracts:\\ndo values and\\nreferences fit?"]
        known [label="record with\\nthe same\\ninputs?" fillcolor="{WAITS}"]
        kernel [label="papermill\\nruns it" peripheries=2]
        promises [label="contract:\\npromises\\nkept?"]
        results [label="results" fillcolor="{GOOD}"]
        refused [label="refused,\\nno kernel" fillcolor="{BAD}"]
        failed [label="Failed; behind\\nit: NotReady" fillcolor="{BAD}"]
        asked -> contracts
        contracts -> known [label="yes"]
        contracts -> refused [label="no"]
        promises -> failed [label="no"]
        known -> results [label="yes: Cached"]
        known -> kernel [label="no"]
        kernel -> promises
        promises -> results [label="yes: new record"]
        results -> known [label="the next notebook" style=dashed constraint=false]
    """,
    "16_road": f"""
        subgraph cluster_prefect {{
            label="Prefect: when, in which order, again after a failure"; color="#999999"
            style=rounded
            database [label="database\nSQL" fillcolor="{PLAIN}"]
            pandas [label="pandas\nclean trips" fillcolor="{PLAIN}"]
            parquet [label="parquet\nfiles" fillcolor="{PLAIN}"]
            sklearn [label="scikit-learn\nfeatures"]
            xgboost [label="XGBoost\nlearns"]
            mlflow [label="MLflow\nruns, registry" fillcolor="{WAITS}"]
            database -> pandas -> parquet -> sklearn -> xgboost -> mlflow
        }}
        fastapi [label="FastAPI\nanswers" fillcolor="{GOOD}"]
        mlflow -> fastapi [label="@champion"]
    """,
}


def draw(name: str, body: str) -> Path:
    """Write one diagram as an SVG file."""
    source = f"digraph {{ compound=true {STYLE} {body} }}"
    done = subprocess.run(
        ["dot", "-Tsvg"], input=source, capture_output=True, text=True, check=True
    )
    # Without the comments, which name Graphviz's version: a new one changes no picture.
    svg = re.sub(r"<!--.*?-->\n?", "", done.stdout[done.stdout.index("<svg") :], flags=re.DOTALL)
    path = IMAGES / f"{name}.svg"
    path.write_text(svg.replace('font-family="Helvetica"', 'font-family="Helvetica,sans-serif"'))
    return path


def main(names: list[str]) -> None:
    """Draw the diagrams that are named, or all."""
    if not shutil.which("dot"):
        sys.exit("Graphviz is not installed: install it, for example with apt-get.")
    IMAGES.mkdir(exist_ok=True)
    for name in names or DIAGRAMS:
        path = draw(name, DIAGRAMS[name])
        print(f"{path.name}: {path.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
