"""The sections of the page: their inputs, and what is read from them."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from gan_tasks.apps.web import components, fields
from gan_tasks.apps.web.fields import LARGEST_SEED, LARGEST_SHIFT, MOVED_VALUES, Values, checked_seed
from gan_tasks.apps.web.synthesis.grid import grid_output
from gan_tasks.apps.web.synthesis.images import Found, Named
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.synthesis.directions import Method
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
from gan_tasks.export.inference.synthesis.points import Point
from gan_tasks.spec import InputSpec, ModelSpec

if TYPE_CHECKING:
    import gradio as gr
    from gradio.components.base import Component

DIRECTIONS = 6
METHODS: dict[str, Method] = {"Strongest in the weights": "factorisation", "Most variation": "components"}
COARSE_LAYERS = 4
"""Of StyleGAN: those of 4×4 and 8×8 features, which decide pose and shape."""
FEWEST_STEPS, MOST_STEPS = 50, 1000
"""Of inversion."""
GRID_COUNTS = (4, 9, 16, 36, 64)


def hint(text: str) -> None:
    import gradio as gr

    gr.HTML(f'<p class="hint">{text}</p>', container=False)


@dataclass(frozen=True)
class SeedInputs:
    """The seed, the class and the truncation; None for what the model does not take."""

    seed: gr.Number
    random: gr.Button
    label: gr.Dropdown | None
    truncation: gr.Slider | None
    run: gr.Button

    def components(self) -> list[Component]:
        return [each for each in (self.seed, self.label, self.truncation) if each is not None]

    def point(self, values: Values, seed: int) -> Point:
        """The point of a seed, with the class and the truncation."""
        truncation = 1.0 if self.truncation is None else values[self.truncation]
        if not isinstance(truncation, int | float):
            raise UserError(f"The truncation is {truncation}: give a number from 0 to 1.")
        return Point(seed, label=self.class_number(values), truncation=float(truncation))

    def class_number(self, values: Values) -> int | None:
        """The class; None for a model without classes. Raises UserError for what is none."""
        label = None if self.label is None else values[self.label]
        if not (label is None or isinstance(label, int)):
            raise UserError("This class is not known: load the page again.")
        return label

    def named(self, values: Values) -> Named:
        """The point of the seed that is given. Raises UserError where there is none."""
        seed = checked_seed(values[self.seed])
        return Named(self.point(values, seed), f"Seed {seed}")

    def restored(self, point: Point) -> Values:
        """The inputs that give a point again; none for a point without a seed."""
        if point.seed is None or point.seed > LARGEST_SEED:
            return {}
        values: Values = {self.seed: point.seed}
        if self.label is not None and point.label is not None:
            values[self.label] = point.label
        if self.truncation is not None:
            values[self.truncation] = point.truncation
        return values


def seed_inputs(spec: ModelSpec) -> SeedInputs:
    import gradio as gr

    label = next((given for given in spec.inputs if given.kind == "label"), None)
    choice = None if label is None else fields.class_choice(label, "Class")
    with gr.Row(equal_height=True, elem_classes="seed"):
        seed = fields.seed_input()
        random = gr.Button("Random seed", min_width=120)
    truncation = None
    if spec.find("truncation") is not None:
        truncation = gr.Slider(
            0, 1, 1, step=0.05, label="Truncation", info="Lower values give more typical images, and less variety."
        )
    return SeedInputs(seed, random, choice, truncation, components.run_button("Generate"))


@dataclass(frozen=True)
class GridSection:
    """A grid of consecutive seeds."""

    first: gr.Number
    count: gr.Dropdown
    run: gr.Button
    further: gr.Button
    grid: gr.HTML

    def seeds(self, values: Values) -> range:
        """Raises UserError for seeds that there are not."""
        first, count = checked_seed(values[self.first]), values[self.count]
        if count not in GRID_COUNTS:
            raise UserError(f"{count} images: a grid has {', '.join(map(str, GRID_COUNTS))}.")
        return range(first, min(first + count, LARGEST_SEED + 1))


def grid_section() -> GridSection:
    import gradio as gr

    with gr.Accordion("Grid of seeds", open=False):
        with gr.Row(elem_classes="pair"):
            first = fields.seed_input("First seed")
            count = gr.Dropdown(list(GRID_COUNTS), value=16, label="Images", filterable=False, min_width=80)
        with gr.Row():
            run = gr.Button("Show grid", size="md", min_width=100)
            further = gr.Button("Next seeds", size="md", min_width=100)
        grid = grid_output()
    return GridSection(first, count, run, further, grid)


@dataclass(frozen=True)
class BetweenSection:
    """The way from one seed to another."""

    start: gr.Number
    end: gr.Number
    position: gr.Slider

    def components(self) -> list[Component]:
        return [self.start, self.end, self.position]

    def seeds(self, values: Values) -> tuple[int, int]:
        """Raises UserError for what is no seed."""
        return checked_seed(values[self.start]), checked_seed(values[self.end])

    def at(self, values: Values) -> float:
        """Raises UserError for what is no position."""
        position = values[self.position]
        if not isinstance(position, int | float) or not 0 <= position <= 1:
            raise UserError(f"The position is {position}: give a number from 0 to 1.")
        return float(position)

    def title(self, values: Values) -> str:
        return f"Between seeds {values[self.start]} and {values[self.end]}, at {values[self.position]:.0%}"


def between_section() -> BetweenSection:
    import gradio as gr

    with gr.Accordion("Between two seeds", open=False):
        start, end = two_seeds("From seed", "To seed")
        position = gr.Slider(0, 1, 0.5, step=0.01, label="Position", info="0 is the first seed, and 1 the second.")
    return BetweenSection(start, end, position)


@dataclass(frozen=True)
class MixSection:
    """Two seeds, of which the first gives the styles of the coarse layers."""

    coarse: gr.Number
    fine: gr.Number
    layers: gr.Slider
    count: int

    def components(self) -> list[Component]:
        return [self.coarse, self.fine, self.layers]

    def seeds(self, values: Values) -> tuple[int, int]:
        """Raises UserError for what is no seed."""
        return checked_seed(values[self.coarse]), checked_seed(values[self.fine])

    def coarse_layers(self, values: Values) -> int:
        """Raises UserError for layers that there are not."""
        layers = values[self.layers]
        if not isinstance(layers, int) or not 0 <= layers <= self.count:
            raise UserError(f"{layers} layers: give a whole number from 0 to {self.count}.")
        return layers

    def title(self, values: Values) -> str:
        layers = f"{values[self.layers]} of {self.count} layers"
        return f"Seed {values[self.coarse]} in {layers}, {values[self.fine]} in the finer ones"


def mix_section(layers: int) -> MixSection:
    """layers: the number of the model's styles, 2 or more."""
    import gradio as gr

    with gr.Accordion("Mix two seeds", open=False):
        coarse, fine = two_seeds("Coarse: shape", "Fine: colours")
        chosen = gr.Slider(
            0,
            layers,
            min(COARSE_LAYERS, layers - 1),
            step=1,
            label="Coarse layers",
            info=f"How many of the {layers} layers have the style of the first seed.",
        )
    return MixSection(coarse, fine, chosen, layers)


def two_seeds(first: str, second: str) -> tuple[gr.Number, gr.Number]:
    import gradio as gr

    with gr.Row(elem_classes="pair"):
        return fields.seed_input(first, 0), fields.seed_input(second, 1)


@dataclass(frozen=True)
class EditSection:
    """Sliders that change the image.

    amounts: 0 where they change nothing.
    method: how the directions are found that the sliders stand for; None if they stand for values of the latent.
    """

    amounts: list[gr.Slider]
    reset: gr.Button
    method: gr.Radio | None = None

    def components(self) -> list[Component]:
        return [*self.amounts, *([] if self.method is None else [self.method])]

    def chosen_method(self, values: Values) -> Method:
        """Raises UserError for what is not offered."""
        chosen = None if self.method is None else values[self.method]
        for method in METHODS.values():
            if method == chosen:
                return method
        raise UserError(f"Directions are found by {' or '.join(METHODS.values())}, and not by {chosen}.")

    def given(self, values: Values) -> list[float]:
        """Raises UserError for what no slider holds."""
        amounts = [values[slider] for slider in self.amounts]
        if not all(isinstance(each, int | float) for each in amounts):
            raise UserError("A slider holds no number: load the page again.")
        return [float(each) for each in amounts]

    def unedited(self) -> Values:
        return dict.fromkeys(self.amounts, 0)


def move_section(latent: InputSpec) -> EditSection:
    """Sliders for the first values of the latent."""
    import gradio as gr

    count = min(MOVED_VALUES, latent.channels)
    with gr.Accordion(f"Move the first {count} of {latent.channels} values", open=False, elem_classes="latent"):
        hint("At 0 the image is as it was.")
        amounts = [amount_slider(f"Value {number}") for number in range(1, count + 1)]
        reset = gr.Button("Undo the edit", size="sm")
    return EditSection(amounts, reset)


def direction_section(space: LatentSpace) -> EditSection:
    """Sliders for directions that are found in the styles."""
    import gradio as gr

    count = min(DIRECTIONS, space.free_length)
    with gr.Accordion("Edit", open=False, elem_classes="latent"):
        hint("Each slider moves the image along a direction of the model that was found without labels.")
        method = gr.Radio(list(METHODS.items()), value="factorisation", label="Directions", elem_classes="whole")
        amounts = [amount_slider(f"Direction {number}") for number in range(1, count + 1)]
        reset = gr.Button("Undo the edit", size="sm")
    return EditSection(amounts, reset, method)


def amount_slider(label: str, **options: Any) -> gr.Slider:
    import gradio as gr

    return gr.Slider(-LARGEST_SHIFT, LARGEST_SHIFT, 0, step=0.05, label=label, **options)


@dataclass(frozen=True)
class InvertSection:
    """A picture, whose latent is found. comparison: the picture, and the nearest image that was found."""

    picture: Component
    steps: gr.Slider
    run: gr.Button
    comparison: gr.ImageSlider
    closeness: gr.HTML

    def count(self, values: Values) -> int:
        """Raises UserError for steps that are not offered."""
        steps = values[self.steps]
        if not isinstance(steps, int) or not FEWEST_STEPS <= steps <= MOST_STEPS:
            raise UserError(f"{steps} steps: give a whole number from {FEWEST_STEPS} to {MOST_STEPS}.")
        return steps

    def shown(self, found: Found) -> Values:
        """How close it came."""
        import gradio as gr

        words = f"PSNR {found.psnr:.1f} dB; higher is nearer. Found by {escape(found.loss)}."
        text = f'<p class="hint" role="status">{words}</p>'
        return {
            self.comparison: gr.update(value=(found.target, found.closest), visible=True),
            self.closeness: gr.update(value=text, visible=True),
        }


def invert_section() -> InvertSection:
    import gradio as gr

    with gr.Accordion("From a picture", open=False):
        hint("Finds the image of the model that is nearest to a picture, which is cropped to the model's size.")
        picture = fields.upload("Picture", height=200)
        steps = gr.Slider(FEWEST_STEPS, MOST_STEPS, 200, step=50, label="Steps", info="More come closer.")
        run = gr.Button("Find the latent", size="md")
        comparison = gr.ImageSlider(
            label="Picture and result", format="png", visible=False, max_height=320, elem_classes="result-slider"
        )
        closeness = gr.HTML(container=False, visible=False)
    return InvertSection(picture, steps, run, comparison, closeness)


def open_section() -> Component:
    """A field for an image that a model generated."""
    import gradio as gr

    with gr.Accordion("Open a generated image", open=False):
        hint("A download says what it was generated from, unless another program has changed the file.")
        return fields.upload("Generated image", height=200)
