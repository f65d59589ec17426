"""Python's `openai` package as a client of a running server.

    pip install openai
    tritburn serve --synthetic tiny --port 8080 &
    python crates/tritburn-server/tests/interop/openai_client.py http://127.0.0.1:8080/v1

The synthetic model has a chat template that takes tools, and made-up words for an answer.
"""

import json
import sys

import openai


def main(url: str) -> None:
    client = openai.OpenAI(base_url=url, api_key="any", max_retries=0)
    model = client.models.list().data[0].id
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
    ]

    answer = client.chat.completions.create(
        model=model, messages=messages, max_completion_tokens=20, seed=1, n=2, logprobs=True, top_logprobs=2
    )
    assert len(answer.choices) == 2 and answer.choices[0].message.content
    assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 2
    print("chat:", answer.choices[0].message.content)

    stream = client.chat.completions.create(
        model=model, messages=messages, max_completion_tokens=20, seed=1, stream=True,
        stream_options={"include_usage": True},
    )
    text, usage = "", None
    for chunk in stream:
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    assert text == answer.choices[0].message.content, (text, answer)
    assert usage.completion_tokens <= 20
    print("stream:", usage.total_tokens, "tokens")

    # What the assistant said goes back as it came.
    messages += [answer.choices[0].message, {"role": "user", "content": "And then?"}]
    client.chat.completions.create(model=model, messages=messages, max_tokens=5)

    parameters = {
        "type": "object",
        "properties": {"unit": {"enum": ["C", "F"]}},
        "required": ["unit"],
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    called = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Rain?"}], tools=[tool], tool_choice="required",
        max_completion_tokens=200,
    )
    message = called.choices[0].message
    assert called.choices[0].finish_reason == "tool_calls"
    call = message.tool_calls[0]
    assert json.loads(call.function.arguments)["unit"] in ("C", "F")
    print("tool:", call.function.name, call.function.arguments)
    client.chat.completions.create(
        model=model, tools=[tool], max_completion_tokens=5,
        messages=[
            {"role": "user", "content": "Rain?"}, message,
            {"role": "tool", "tool_call_id": call.id, "content": "no"},
        ],
    )

    with client.chat.completions.stream(
        model=model, messages=[{"role": "user", "content": "Rain?"}], tools=[tool], tool_choice="required",
        max_completion_tokens=200,
    ) as events:
        final = events.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.name == "weather"

    shaped = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Unit?"}], max_completion_tokens=200,
        response_format={"type": "json_schema", "json_schema": {"name": "unit", "strict": True, "schema": parameters}},
    )
    assert json.loads(shaped.choices[0].message.content)["unit"] in ("C", "F")
    print("schema:", shaped.choices[0].message.content)

    completion = client.completions.create(
        model=model, prompt=["one", "two"], max_tokens=5, logprobs=1, extra_body={"ignore_eos": True}
    )
    assert len(completion.choices) == 2 and completion.usage.completion_tokens == 10

    for wrong, kind in [
        ({"temperature": 9}, openai.BadRequestError),
        ({"verbosity": "low"}, openai.BadRequestError),
        ({"model": "other"}, openai.NotFoundError),
        ({"messages": [{"role": "user", "content": "a " * 100_000}]}, openai.BadRequestError),
    ]:
        request = {"model": model, "messages": messages[:1], **wrong}
        try:
            client.chat.completions.create(**request)
        except kind as error:
            print("refused:", error.body["message"])
            assert error.body["param"] == next(iter(wrong)), error.body
        else:
            raise AssertionError(f"{wrong} was not refused")
    print("ok: openai", openai.__version__)


if __name__ == "__main__":
    main(sys.argv[1])
