"""People at the page: with a keyboard alone, on a telephone, with a screen reader; always without JavaScript."""

from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.answering import People, path_of

ORDER = """
id: order
blocks:
  ask:
    type: human
    message: |
      Order these parts?
      The supplier waits for a word.
    show:
      - supplier: {name: "Bolt & Co", contact: {email: "averyveryverylongaddress-without-any-gap@bolt.example"}}
      - lines:
          - {sku: A-113, text: "Bearing, 12 mm", count: 40, price: 12.5, place: "Rack 7, upper shelf", checked: true}
          - {sku: B-7, text: Grease, count: 3, price: 233.5, place: "Yard", checked: false}
      - digest: "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
    form:
      type: object
      required: [to, lines, speed]
      properties:
        to:
          type: object
          title: Where to
          required: [street, city]
          properties: {street: {type: string}, city: {type: string, minLength: 2, description: "No abbreviations."}}
        lines:
          type: array
          title: Parts
          minItems: 1
          items:
            type: object
            title: Part
            required: [sku, count]
            properties:
              sku: {type: string}
              count: {type: integer, minimum: 1}
              tags: {type: array, items: {type: string}, title: Tags}
        speed: {enum: [slow, fast], title: How fast}
        size: {enum: [a, b, c, d, e, f], title: Size of the box}
        insured: {type: boolean, title: "Insure it?"}
        gift: {type: boolean, default: false, title: It is a present}
        on: {type: string, format: date, title: "On"}
        at: {type: string, format: date-time, title: "At"}
        ways: {type: array, items: {enum: [rail, road]}, title: Ways}
        machine: {title: For machines}
        fixed: {type: string, readOnly: true, default: "as it is", title: Fixed}
    actions:
      - order: Order
      - later: {label: Later, form: {type: object, properties: {until: {type: string, format: date}}}}
      - drop: {label: Forget it, denies: true}
""".replace("\n      - digest:", "\n      - checksum:")

CONTROLS = frozenset({"textbox", "spinbutton", "combobox", "checkbox", "radio", "button", "link", "Date", "DateTime"})
GROUPS = frozenset({"group", "radiogroup", "region", "table", "alert", "form"})


async def open_page(page: Page, house: People, subject: str = "ann") -> str:
    paused = await house.asked(ORDER)
    url = str(house.client.base_url).rstrip("/") + path_of(paused, subject)
    await page.goto(url)
    return url


async def tab_to(page: Page, name: str, value: str | None = None) -> Locator:
    """Press Tab until this control has the focus."""
    for _ in range(80):
        await page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if not await focused.count() or await focused.get_attribute("name") != name:
            continue
        if value is None or await focused.get_attribute("value") == value:
            return focused
    pytest.fail(f"Tab does not lead to {name}")


async def type_into(page: Page, name: str, text: str) -> None:
    await tab_to(page, name)
    await page.keyboard.type(text)


async def devtools(page: Page, method: str) -> dict[str, Any]:
    session: Any = await page.context.new_cdp_session(page)
    return await session.send(method)


async def tree(page: Page) -> list[dict[str, Any]]:
    """What a screen reader is told, in order."""
    found = await devtools(page, "Accessibility.getFullAXTree")
    return [node for node in found["nodes"] if not node.get("ignored")]


def told(node: dict[str, Any], what: str) -> Any:
    return node.get(what, {}).get("value")


def properties(node: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each["value"].get("value") for each in node.get("properties", [])}


async def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    metrics = await devtools(page, "Page.getLayoutMetrics")
    return metrics["cssContentSize"]["width"] - metrics["cssLayoutViewport"]["clientWidth"]


async def test_a_form_is_filled_in_and_decided_with_the_keyboard_alone(page: Page, house: People) -> None:
    await open_page(page, house)
    await type_into(page, "f/to/street", "Ring 1")
    await type_into(page, "f/to/city", "U")
    await type_into(page, "f/lines/0/sku", "A-1")
    await type_into(page, "f/lines/0/count", "2")
    await tab_to(page, "add", "f/lines")
    await page.keyboard.press("Enter")
    await expect(page.locator("[name='f/lines/1/sku']")).to_be_visible()
    # The new row has the focus, and what was typed is still there.
    assert await page.locator(":focus").get_attribute("id") == "c-f-lines-1"
    assert await page.locator("[name='f/to/street']").input_value() == "Ring 1"
    await type_into(page, "f/lines/1/sku", "B-2")
    await type_into(page, "f/lines/1/count", "0")
    # Enter in a field decides nothing.
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("Nothing is decided yet")
    await tab_to(page, "action", "order")
    await page.keyboard.press("Enter")

    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("some things are not right")
    assert (await page.title()).startswith("Mistake: ")
    assert await page.locator(":focus").get_attribute("id") == "notice"
    mistakes = await alert.get_by_role("link").all_inner_texts()
    assert mistakes == [
        "Where to, City: must have at least 2 characters",
        "Parts, Part 2, Count: must be at least 1",
        "How fast: choose one",
    ]
    # The first mistake: Tab to its link, and Enter leads to the field.
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    city = page.locator("[name='f/to/city']")
    await expect(city).to_be_focused()
    await expect(city).to_have_accessible_description("No abbreviations. Mistake: Must have at least 2 characters")
    await page.keyboard.press("End")
    await page.keyboard.type("lm")
    await tab_to(page, "f/lines/1/count")
    await page.keyboard.press("Control+A")
    await page.keyboard.type("3")
    await tab_to(page, "f/speed")
    await page.keyboard.press("ArrowDown")
    await tab_to(page, "comment")
    await page.keyboard.type("As agreed")
    await tab_to(page, "action", "order")
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("heading", level=1)).to_have_text("You chose “Order”")
    for text in ("As agreed", "Ulm", "B-2", "fast"):
        await expect(page.get_by_text(text).first).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("heading", level=1)).to_have_text("You chose “Order”")
    assert not await page.get_by_role("button").count()


async def test_a_row_is_taken_out_again(page: Page, house: People) -> None:
    await open_page(page, house)
    add = page.get_by_role("button", name="Add another to Parts")
    await add.click()
    await page.locator("[name='f/lines/0/sku']").fill("first")
    await page.locator("[name='f/lines/1/sku']").fill("second")
    await page.locator("[name='f/machine']").fill("\n{}\n")
    await page.get_by_role("button", name="Remove Part 1 of Parts").click()
    await expect(page.locator("[name='f/lines/1/sku']")).to_have_value("second")
    assert not await page.locator("[name='f/lines/0/sku']").count()
    assert await page.locator("[name='f/machine']").input_value() == "\n{}\n"
    await expect(add).to_be_focused()
    assert not await page.get_by_role("button", name="Remove Part").count(), "one must stay"


@pytest.mark.parametrize("width", [320, 360, 768])
async def test_nothing_is_wider_than_a_telephone(page: Page, house: People, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 740})
    await open_page(page, house)
    assert await overflow(page) == 0
    await page.locator("[name='f/machine']").fill("{" + "x" * 300)
    await page.get_by_role("button", name="Order", exact=True).click()
    await expect(page.get_by_role("alert")).to_be_visible()
    assert await overflow(page) == 0
    await page.get_by_role("button", name="Forget it").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("You chose “Forget it”")
    assert await overflow(page) == 0
    for button in await page.get_by_role("button").all():
        box = await button.bounding_box()
        assert box is not None
        assert box["height"] >= 24


async def test_a_screen_reader_is_told_what_everything_is(page: Page, house: People) -> None:
    await open_page(page, house)
    await page.get_by_role("button", name="Order", exact=True).click()
    await expect(page.get_by_role("alert")).to_be_visible()
    nodes = await tree(page)
    roles = [told(node, "role") for node in nodes]
    assert roles.count("main") == 1
    assert [told(node, "name") for node in nodes if told(node, "role") == "RootWebArea"] == [
        "Mistake: Order these parts?"
    ]
    headings = [(told(n, "name"), properties(n)["level"]) for n in nodes if told(n, "role") == "heading"]
    assert ("Order these parts?", 1) in headings
    controls = [node for node in nodes if told(node, "role") in CONTROLS]
    assert len(controls) > 25
    nameless = [
        node for node in nodes if told(node, "role") in CONTROLS | GROUPS - {"alert"} and not told(node, "name")
    ]
    assert [told(node, "role") for node in nameless] == []
    wrong = {
        told(node, "name"): told(node, "description") for node in controls if properties(node).get("invalid") == "true"
    }
    assert wrong["Street"] == "Mistake: Fill this in"
    required = {told(node, "name") for node in controls if properties(node).get("required")}
    assert {"Street", "City", "Sku", "Count"} <= required
    assert "For machines" not in required


async def test_it_can_be_read_in_the_dark_and_in_the_light(browser: Browser, house: People) -> None:
    paused = await house.asked(ORDER)
    colours: list[str] = []
    for scheme in ("light", "dark"):
        context = await browser.new_context(color_scheme=scheme)  # pyright: ignore[reportArgumentType]
        page = await context.new_page()
        await page.goto(str(house.client.base_url).rstrip("/") + path_of(paused))
        colours.append(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
        await context.close()
    assert colours == ["rgb(246, 245, 242)", "rgb(22, 23, 26)"]
