"""Pictures of fits, with matplotlib: nothing here knows what it draws."""

from ._figure import check_target as check_target
from ._figure import new_figure as new_figure
from ._figure import save as save
from ._images import draw_images as draw_images
from ._intervals import Interval as Interval
from ._intervals import draw_intervals as draw_intervals
from ._losses import draw_losses as draw_losses
