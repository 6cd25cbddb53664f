"""`sightline run`: recognise what a camera or video shows, live."""

from typing import Any

import click

from ..opening import object_options
from ..options import device_options
from ..outputs.settings import output_options
from ..service.config import config_option

_GALLERY = "Look frames up here; made on the spot where one can teach."
_SMOOTH = "Frames that vote on the answer [default: 5 for cameras, 1 for files and below --fps 10]."
_FPS = "At most N frames a second; the others are not even decoded [default: all]."
_KIOSK = "Serve the kiosk page instead of a window [default: 127.0.0.1:8080]; other hosts need a token."
_CONNECT = "Give up on a camera that never gave a frame [default: 10; with --kiosk never]."


@click.command()
@config_option
@click.argument("bundle", type=click.Path())
@click.option("--source", required=True, metavar="URI", help="Camera number, file, folder, http:// or rtsp://.")
@click.option("--gallery", type=click.Path(), metavar="GALLERY", help=_GALLERY)
@click.option("-k", "k", default=5, show_default=True, type=click.IntRange(1, 100), help="Matches an answer.")
@click.option("--roi", metavar="L,T,W,H", help="Look at this part only, in fractions: 0.25,0.1,0.5,0.8.")
@click.option("--smooth", type=click.IntRange(1, 99), metavar="N", help=_SMOOTH)
@click.option("--fps", type=click.FloatRange(0.2, 1000), metavar="N", help=_FPS)
@click.option("--every-frame", is_flag=True, help="Answer a camera's frames even where nothing moves.")
@click.option("--headless", is_flag=True, help="Open no window.")
@click.option("--kiosk", is_flag=False, flag_value="127.0.0.1:8080", metavar="[HOST:PORT]", help=_KIOSK)
@click.option("--json", type=click.Path(), metavar="FILE", help="Write JSON lines; - is standard output.")
@click.option("--record", type=click.Path(), metavar="FILE", help="Record what is shown: .mp4, .mkv or .avi.")
@click.option("--teach-label", metavar="NAME", help="What 't' teaches; without a window it is taught at the start.")
@click.option("--stdin", "lines", is_flag=True, help="Obey lines: teach NAME, undo, pause, quit.")
@click.option("--max-frames", type=click.IntRange(1), metavar="N", help="End after N answers.")
@click.option("--duration", type=click.FloatRange(0, min_open=True), metavar="S", help="End after S seconds.")
@click.option("--connect-timeout", "connect_s", type=click.FloatRange(0, min_open=True), metavar="S", help=_CONNECT)
@object_options
@output_options
@device_options
def command(max_frames: int | None, duration: float | None, **asked: Any) -> int:
    """Recognise what a camera or video shows with BUNDLE.

    Sources: 0 or camera://0, /dev/video0, a video file, a picture, a folder or 'glob' of pictures,
    http(s):// (MJPEG or one picture), rtsp://, test://. A camera that is lost is opened again.

    --kiosk serves a page on this machine that shows, teaches and keeps the gallery (extra 'kiosk').

    --detector finds objects and answers each of them, with its box. A BUNDLE that detects or segments by itself shows
    what it finds.

    Keys: t teaches what is in view, u takes the last one back, space pauses, q or Esc quits.

    \b
    Example:
      sightline run kiosk.bundle --source 0 --gallery shop.gallery
      sightline run kiosk.bundle --source clip.mp4 --headless --json answers.jsonl --record shown.mp4
      sightline run kiosk.bundle --source 0 --gallery shop.gallery --kiosk
      sightline run kiosk.bundle --source 0 --gallery shop.gallery --detector objects.bundle
    """
    from ..controls import Stop, Wish, stopped_by_signals

    stop, reload = Stop(), Wish()
    with stopped_by_signals(stop, reload):
        from ..console import ConsoleReporter
        from ..live import RunOptions, run_live
        from ..loop import Limits

        # Every other parameter bears the name of its field.
        options = RunOptions(limits=Limits(max_frames, duration), **asked)
        run_live(options, stop, ConsoleReporter(), reload)
    return stop.exit_code
