"""What is validated is what is run: one binder for both, whatever the model."""

import pytest

from simulator import catalog
from simulator.catalog.engines import EngineArgs
from simulator.catalog.models import Model, models
from simulator.errors import MeasurementError, NotModelled
from simulator.planning.fleet_plan import plan_fleet
from simulator.scenario import Deployment, Scenario
from simulator.server import FleetPlan
from simulator.validation.protocols import Bench, MeasuredServer
from simulator.workload.workload import Workload

# Cards and tensor-parallel sizes to try in turn.
TRIED = (("h100-sxm", 1), ("h200-sxm", 8), ("b200-sxm", 8), ("b300", 8))
ENGINE = catalog.engine("vllm-0.19.0")


@pytest.mark.parametrize("model", models(), ids=lambda model: model.name)
def test_a_model_has_the_same_limits_and_steps_whether_run_or_validated(model: Model) -> None:
    reason = ""
    for card, tensor_parallel in TRIED:
        gpu = catalog.gpu(card)
        args = EngineArgs(max_model_len=16384, tensor_parallel_size=tensor_parallel)
        deployment = Deployment(gpu=gpu, max_model_len=16384, tensor_parallel_size=tensor_parallel)
        workload = Workload(requests=1, arrivals="1/s", prompt=1024, output=128)
        scenario = Scenario(name="same", model=model, engine=ENGINE, workload=workload, deployments=(deployment,))
        try:
            validated = Bench().bind(MeasuredServer(model, None, gpu, ENGINE, args))
        except (MeasurementError, NotModelled) as problem:
            reason = str(problem)
            continue
        fleet = plan_fleet(scenario, deployment)
        assert isinstance(fleet, FleetPlan)
        run = fleet.server
        assert run.limits == validated.limits
        assert (run.step_time.tokens == validated.step_time.tokens).all()
        assert run.step_time.per_context == validated.step_time.per_context
        return
    pytest.skip(f"starts on none of {len(TRIED)} servers: {reason}")
